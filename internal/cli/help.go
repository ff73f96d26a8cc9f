package cli

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"propusk/internal/config"
)

const description = `User management and authentication in one small service: it registers people,
logs them in, and tells other services whose token it is.

First steps:
  propusk dev        try it out: nothing is kept
  propusk serve      run it: the data goes to ./propusk-data
  propusk user add --username=NAME --email=ADDRESS --user-role=Admin
                     make the first administrator`

const settingsDetail = `Every setting is a flag, an environment variable (PROPUSK_ and the flag in capitals, such as PROPUSK_TIME_ZONE) and a line of the file that --config names (time-zone: Europe/Moscow). A flag beats the environment, the environment beats the file.`

const toolDetail = `It works on the database itself, whether or not the service is running, and takes the settings of propusk serve in the same ways: flag, environment variable, file. Those that matter here are listed below; give the same ones.`

// The settings that matter to a command besides the service. Others are taken
// too, so that one file or environment fits all, but would drown its own flags.
var (
	toolSettings = []string{"config", "database", "master-key-file", "time-zone"} //nolint:gochecknoglobals // a constant list
	moreSettings = map[string][]string{                                           //nolint:gochecknoglobals // a constant table
		"add":     {"user-types", "phone-region", "password-min-length", "password-blocklist", "argon2"},
		"recover": {"public-url"},
	}
)

// layOut completes the help: what the settings' tags cannot know stands in
// config's table, and what is settled there is not written twice.
func layOut(app *kong.Application) {
	app.HelpFlag.Help = "Show this help."
	for _, cmd := range app.Leaves(false) {
		if !slices.ContainsFunc(cmd.Flags, func(f *kong.Flag) bool { return f.Name == "config" }) {
			continue
		}
		tool := slices.Contains([]string{"user", "session", "key", "outbox"}, cmd.Parent.Name)
		cmd.Detail = settingsDetail
		if tool {
			cmd.Detail = toolDetail
		}
		for _, row := range config.Table() {
			i := slices.IndexFunc(cmd.Flags, func(f *kong.Flag) bool { return f.Name == row.Name })
			def := row.Default
			if cmd.Name == "dev" {
				def = row.DevDefault
			}
			describe(cmd.Flags[i], def)
			shown := toolSettings
			if cmd.Parent.Name == "user" {
				shown = append(slices.Clone(shown), moreSettings[cmd.Name]...)
			}
			cmd.Flags[i].Hidden = tool && !slices.Contains(shown, row.Name)
		}
	}
}

func describe(f *kong.Flag, def string) {
	if def != "" {
		f.Help += " Default: " + def + "."
	}
	f.Group = &kong.Group{Key: f.Group.Key, Title: f.Group.Key + ":"}
}

// path is how the command is called, such as "propusk user add".
func path(k *kong.Kong, cmd *kong.Node) string {
	if cmd == nil {
		return k.Model.Name
	}
	return strings.TrimSpace(cmd.FullPath())
}
