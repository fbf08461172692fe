// Command server is the production server: the application on the reactor.
package main

import (
	"chatmonitor/server/app"
	"chatmonitor/server/internal/reactor"
)

func main() { app.Main(&reactor.Network{}) }
