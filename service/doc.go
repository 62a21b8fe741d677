// Package service makes the program a service of the operating system: [Install], [Uninstall], [Start], [Stop],
// [Restart], [Status], and [Run] for the process that the service manager starts.
//
// On Linux it speaks to systemd with a unit of its own ([Unit] shows it): a system user, restart within seconds, the
// journal, and a readiness report by sd_notify(3). On macOS and Windows it uses the service manager of the system in the
// plain form that kardianos/service offers. Where no supported service manager runs it says so in one line with what to
// do instead; it never guesses.
//
// What it promises: a failed step leaves the machine as it was and is named with its remedy; everything that was
// changed is in the returned report. It never removes the system user, the configuration or the state. It keeps no
// state of its own and starts no goroutine that outlives the call. It imports the standard library and
// kardianos/service only.
package service
