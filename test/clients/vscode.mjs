// Works in VS Code as a person does: open a file, see its error, edit, save, and
// run a command in the terminal.
//
//   node vscode.mjs URL WORKSPACE
import { readFile } from 'node:fs/promises'
import { assert, patience, shoot, until, withPage } from './browser.mjs'

const [url, workspace] = process.argv.slice(2)

await withPage(async (page) => {
  await page.goto(`${url}/?folder=${encodeURIComponent(workspace)}`)
  await page.locator('.monaco-workbench').waitFor()
  assert(await page.evaluate(() => isSecureContext), 'VS Code does not run in a secure context')

  // The tree comes through the remote agent, the file's error from TypeScript in
  // the extension host.
  await page.getByRole('treeitem', { name: 'hello.ts' }).dblclick()
  const editor = page.locator('.editor-instance .monaco-editor').first()
  await editor.locator('.view-lines').getByText('forty-two').waitFor()
  await page.locator('.squiggly-error').first().waitFor({ state: 'attached' })

  await editor.locator('.view-lines').click()
  await page.keyboard.press('Control+End')
  await page.keyboard.type("export const question = 'six times seven'\n")
  await page.keyboard.press('Control+S')
  await until('the edit is on disk', async () =>
    (await readFile(`${workspace}/hello.ts`, 'utf8')).includes("question = 'six times seven'"))
  await shoot(page, 'edited')

  // What the shell computes is not what was typed, so an echo of the browser's
  // own would not do.
  await page.keyboard.press('Control+`')
  const terminal = page.locator('.terminal-wrapper .xterm')
  await terminal.locator('.xterm-rows').getByText(/[$#]/).first().waitFor()
  await terminal.locator('.xterm-helper-textarea').focus()
  await page.keyboard.type('echo "edge-$((6 * 7))-edge"\n')
  await terminal.locator('.xterm-rows').getByText('edge-42-edge').waitFor({ timeout: patience })
  await shoot(page, 'terminal')
})
