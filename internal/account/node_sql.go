package account

const insertNode = `INSERT INTO nodes (id, beats, heard) VALUES ($1, 0, 0)`

const selectNodes = `SELECT id, beats, heard FROM nodes WHERE id <> $1`

const ackEpoch = `UPDATE nodes SET heard = $2 WHERE id = $1`

const countBeat = `UPDATE nodes SET beats = beats + 1 WHERE id = $1`

const deleteNode = `DELETE FROM nodes WHERE id = $1`

const deleteDeadNode = `DELETE FROM nodes WHERE id = $1 AND beats = $2`
