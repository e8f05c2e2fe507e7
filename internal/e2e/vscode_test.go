package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const vscodePort = 39378

// The page, the editor with its save to disk, the terminal and the extension
// host: three WebSockets, some thousand requests, and a service worker that only
// a secure context is given.
func TestVSCodeEditsSavesAndRunsATerminal(t *testing.T) {
	t.Parallel()
	code := startVSCode(t)
	e := startEdge(t)
	runClient(t, "vscode.mjs", e.url(vscodePort, secureDomain), code.workspace)

	// The squiggle that the script waits for could come from the browser's own
	// extension host. This log is of the one behind the edge.
	logs, err := filepath.Glob(filepath.Join(code.data, "logs", "*", "exthost*", "remoteexthost.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log of the extension host below %s: %v", code.data, err)
	}
	log, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := "vscode.typescript-language-features"; !strings.Contains(string(log), want) {
		t.Errorf("the extension host has not activated %s:\n%s", want, log)
	}
}

// vscode is VS Code served to browsers, on the sandbox's port for it.
type vscode struct {
	workspace string // has hello.ts, with a type error in it
	data      string
}

func startVSCode(t *testing.T) vscode {
	t.Helper()
	home := t.TempDir()
	code := vscode{workspace: filepath.Join(home, "workspace"), data: filepath.Join(home, "data")}
	writeFile(t, filepath.Join(code.workspace, "hello.ts"), "export const answer: number = 'forty-two'\n")
	writeFile(t, filepath.Join(code.data, "User", "settings.json"), `{
  "security.workspace.trust.enabled": false,
  "telemetry.telemetryLevel": "off",
  "update.mode": "none",
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "workbench.enableExperiments": false,
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "editor.autoClosingBrackets": "never",
  "editor.autoClosingQuotes": "never",
  "terminal.integrated.gpuAcceleration": "off"
}`)

	address := fmt.Sprintf("%s:%d", sandboxAddress(t), vscodePort)
	cmd := npmTool(t, "code-server/out/node/entry.js",
		"--bind-addr", address, "--auth", "none",
		"--disable-telemetry", "--disable-update-check", "--disable-workspace-trust", "--disable-getting-started-override",
		"--user-data-dir", code.data, "--extensions-dir", filepath.Join(home, "extensions"))
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "SHELL=/bin/bash")
	p := start(t, "code-server", cmd)
	p.await(t, "answer", func() error { return getOK("http://" + address + "/healthz") })
	return code
}
