package cli

import "flag"

// agentCommands are the sub-commands of s3apu-agent, in the order of its help.
func agentCommands() []command {
	return []command{
		{name: "init", args: "--bucket B --folder PATH …", short: "write a configuration to start from", long: initHelp, run: runInit},
		{name: "check", short: "try configuration, folders and bucket; say what to do about each fault", long: checkHelp, run: runCheck},
		{name: "run", short: "watch and upload, in the foreground, until SIGTERM", long: runHelp, run: runRun},
		{name: "install", short: "install as a service of this system", long: installHelp, run: runInstall},
		{name: "uninstall", short: "stop the service and remove it; data and configuration stay", run: runUninstall},
		{name: "start", short: "start the service", run: runStart},
		{name: "stop", short: "stop the service", run: runStop},
		{name: "restart", short: "restart the service", run: runRestart},
		{name: "status", short: "tell whether the service runs, and how it fares", run: runStatus},
		{name: "feed", args: "FEED_ROOT [KEY_ROOT] [RECURSION] [CHECK_MISSING]", short: "hand the contents of a folder to the agent", long: feedHelp, run: runFeed},
		{name: "list", args: "[PREFIX] [LIMIT] [BUCKET]", short: "list a folder of the bucket", long: listHelp, run: runList},
		{name: "meta", args: "KEY", short: "print the headers of an object of the default bucket", run: runMeta},
		{name: "queue status", short: "print the queue's counters", run: runStatusLine},
		{name: "queue failed", short: "list what did not go, with the reason", long: failedHelp, run: runFailed},
		{name: "queue retry", args: "KEY… | --all", short: "try failed instructions again now", long: keysHelp, run: runRetry},
		{name: "queue held", short: "list the deletes that wait for a person", long: heldHelp, run: runHeld},
		{name: "queue release", args: "KEY… | --all", short: "let held deletes go", long: keysHelp, run: runRelease},
		{name: "queue drop", args: "KEY… | --all", short: "forget held deletes; the objects stay", long: keysHelp, run: runDrop},
		{name: "version", short: "print the version", run: runVersion},
	}
}

// utilities are the programs of S3 APU, under their names of 2010.
func utilities() map[string]command {
	return map[string]command{
		"util_feed":             {name: "util_feed", args: "FEED_ROOT [KEY_ROOT] [RECURSION] [CHECK_MISSING]", short: "Feed the contents of a folder to the queue.", long: feedHelp, run: runFeed},
		"util_list":             {name: "util_list", args: "[PREFIX] [LIMIT] [BUCKET]", short: "List a folder of the bucket.", long: listHelp, run: runList},
		"util_list_noseparator": {name: "util_list_noseparator", args: "[PREFIX] [LIMIT] [BUCKET]", short: "List every key below a prefix.", long: listHelp, run: runListAll},
		"util_q_status":         {name: "util_q_status", short: "Print the queue's counters.", run: runStatusLine},
		"util_get_meta":         {name: "util_get_meta", args: "KEY", short: "Print the headers of an object.", run: runMeta},
	}
}

// flagSetup declares the flags of one command, beside --config.
type flagSetup func(*flag.FlagSet)

// setupFor returns the flags that the command takes beside --config.
func setupFor(name string) flagSetup {
	switch name {
	case "init":
		return func(f *flag.FlagSet) {
			f.String("bucket", "", "the bucket's `NAME`")
			f.String("endpoint", "", "the server's `URL`; empty for AWS")
			f.String("region", "", "the bucket's `REGION`")
			f.String("access-key-id", "", "the key's `ID`; better left to the environment")
			f.String("secret-access-key", "", "the key's `SECRET`; better left to the environment")
			f.String("folder", "", "the folder's `PATH`")
			f.String("prefix", "", "the key `PREFIX` of its files")
			f.String("state-dir", "", "where queue and ledger live, a `PATH`")
		}
	case "queue retry", "queue release", "queue drop":
		return func(f *flag.FlagSet) { f.Bool("all", false, "every one of them") }
	case "install":
		return func(f *flag.FlagSet) {
			f.String("user", "", "the system `USER` that the service runs as; default s3apu, made if missing")
			f.Bool("per-user", false, "install for the calling user, without root")
			f.Bool("read-all", false, "let the service read every file of the machine")
		}
	case "uninstall", "start", "stop", "restart", "status":
		return func(f *flag.FlagSet) { f.Bool("per-user", false, "the service of the calling user") }
	}
	return func(*flag.FlagSet) {}
}

// stringFlag and boolFlag read a flag that setupFor declared.
func stringFlag(c *call, name string) string { return c.flags.Lookup(name).Value.String() }
func boolFlag(c *call, name string) bool     { return stringFlag(c, name) == "true" }
