package proxy

import "cmux.sh/edge/internal/resolve"

// Ports with a fixed meaning inside a sandbox.
const (
	firstToolPort = 39375
	execPort      = 39375                  // runs commands
	nodePort      = 39376                  // the worker's second half
	workerPort    = 39377                  // the worker; serves /code/ and /vnc/ too
	codePort      = 39378                  // VS Code
	proxyPort     = resolve.InnerProxyPort // the proxy inside the sandbox
	vncPort       = 39380                  // noVNC and its WebSocket
	devToolsPort  = 39381                  // Chrome's DevTools protocol behind a proxy of the image
	chromePort    = 39382                  // Chrome itself
	termPort      = 39383                  // a terminal
	lastToolPort  = 39383
)

// profile is what the edge does to the exchanges of one port beyond passing
// them on. The zero value does nothing.
//
// Which port counts is the one that the host name asks for, in every form. That
// Location leads to public names holds on every port and is not in here.
type profile struct {
	// options answers every OPTIONS at the edge.
	options bool
	// cors lets siblings and dashboards read answers, and answers their
	// preflights at the edge.
	cors bool
	// framing says whether frame-ancestors is the edge's.
	framing framing
	// embeddable drops Cross-Origin-Resource-Policy: the page is put into pages
	// that demand it of what they embed.
	embeddable bool
	// headScript puts the edge's script into documents.
	headScript bool
	// devTools leads the addresses in DevTools' JSON back through the edge.
	devTools bool
}

// framing is what happens to frame-ancestors and X-Frame-Options.
type framing uint8

const (
	// framingKept leaves both alone.
	framingKept framing = iota
	// framingAmended replaces a restriction by the edge's list: siblings that
	// are tools, and dashboards. What is not restricted stays so.
	framingAmended
	// framingListed sets that list on everything.
	framingListed
)

// profiles are those of the ports with a fixed meaning.
var profiles = map[uint16]profile{
	execPort:     {},
	nodePort:     {cors: true, framing: framingListed},
	workerPort:   {cors: true, framing: framingListed},
	codePort:     {cors: true, framing: framingListed, options: true},
	proxyPort:    {cors: true, framing: framingListed},
	vncPort:      {framing: framingListed, embeddable: true},
	devToolsPort: {devTools: true},
	chromePort:   {},
	termPort:     {framing: framingListed},
}

// appProfile is that of every other port: what users run.
var appProfile = profile{cors: true, framing: framingAmended, headScript: true}

// framingPorts are the tools that may frame what their sandbox serves: VS Code
// shows previews, the worker shows VS Code.
var framingPorts = [...]uint16{nodePort, workerPort, codePort, proxyPort, vncPort, devToolsPort, termPort}

func profileOf(port uint16) profile {
	if port < firstToolPort || port > lastToolPort {
		return appProfile
	}
	return profiles[port]
}
