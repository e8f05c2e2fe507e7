// Edits the sources of a page that Vite serves and watches it change.
//
//   node vite.mjs URL PROJECT
import { rename, writeFile } from 'node:fs/promises'
import { assert, shoot, until, withPage } from './browser.mjs'

const [url, project] = process.argv.slice(2)
const domain = new URL(url).hostname.replace(/^[^.]*\./, '')

// save replaces a file at once, as editors do: Vite may look at it at any time,
// and one that it has read empty it does not read again.
async function save(name, text) {
  await writeFile(`${project}/.${name}`, text)
  await rename(`${project}/.${name}`, `${project}/${name}`)
}

await withPage(async (page) => {
  let loads = 0
  page.on('load', () => loads++)
  const connected = page.waitForEvent('console', (message) => message.text().includes('[vite] connected'))
  await page.goto(url)
  await page.locator('#message').getByText(/./).waitFor()
  await connected // over its WebSocket

  const message = `edited for ${domain}`
  await save('message.js', `export const message = '${message}'\n`)
  await page.locator('#message').getByText(message).waitFor()

  const green = `rgb(0, ${100 + domain.length}, 0)`
  await save('style.css', `h1 { color: ${green} }\n`)
  await until('the style changes', () =>
    page.locator('#message').evaluate((h1, want) => getComputedStyle(h1).color === want, green))
  assert(loads === 1, `the page was loaded ${loads} times, want once`)
  await shoot(page, domain)
})
