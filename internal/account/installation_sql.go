package account

const selectInstallation = `SELECT value FROM installation WHERE name = $1`

const insertInstallation = `INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`
