package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

const vitePort = 3000

// Vite serves nobody whose Host it does not know, unless that is local: only the
// edge's rule for Host and Origin opens it at another domain.
func TestViteReplacesAModuleWithoutReload(t *testing.T) {
	t.Parallel()
	project := startVite(t)
	e := startEdge(t)
	for _, domain := range []string{secureDomain, plainDomain} {
		t.Run(domain, func(t *testing.T) { // one after the other: they edit the same file
			runClient(t, "vite.mjs", e.url(vitePort, domain), project)
		})
	}
}

// startVite serves a page by Vite's development server, on the port that
// programs like it use. It returns the directory with the page's sources.
func startVite(t *testing.T) (project string) {
	t.Helper()
	project = t.TempDir()
	writeFile(t, filepath.Join(project, "package.json"), `{"type": "module"}`)
	writeFile(t, filepath.Join(project, "index.html"), `<!doctype html>
<html lang="en">
<link rel="icon" href="data:,">
<title>Vite</title>
<h1 id="message"></h1>
<script type="module" src="/main.js"></script>
`)
	writeFile(t, filepath.Join(project, "main.js"), `import './style.css'
import { message } from './message.js'
const show = (text) => { document.getElementById('message').textContent = text }
show(message)
import.meta.hot.accept('./message.js', (next) => show(next.message))
`)
	writeFile(t, filepath.Join(project, "message.js"), "export const message = 'as it was'\n")
	writeFile(t, filepath.Join(project, "style.css"), "h1 { color: rgb(0, 0, 0) }\n")

	cmd := npmTool(t, "vite/bin/vite.js", "--host", sandboxAddress(t), "--port", fmt.Sprint(vitePort), "--strictPort", "--clearScreen", "false")
	cmd.Dir = project
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "NO_COLOR=1")
	p := start(t, "vite", cmd)
	address := fmt.Sprintf("http://%s:%d/", sandboxAddress(t), vitePort)
	p.await(t, "answer", func() error { return getOK(address) })

	// What the edge's rule is for. If Vite serves this, the test proves less than
	// it says.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = fmt.Sprintf("port-%d-real.%s", vitePort, plainDomain)
	resp, err := probe.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("Vite answered %s to a Host that it does not know, want 403", resp.Status)
	}
	return project
}
