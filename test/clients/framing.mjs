// Frames VS Code's port and an app's in a page of another origin.
//
//   node framing.mjs DASHBOARD STRANGER CODE APP
import { assert, until, withPage } from './browser.mjs'

const [dashboard, stranger, code, app] = process.argv.slice(2)

// frame puts urls into frames of the page and tells which have loaded: such a
// one has told so, one that was refused shows the browser's own error.
async function frame(page, urls) {
  await page.evaluate((urls) => {
    window.told = []
    addEventListener('message', ({ data, origin }) => window.told.push(`${data} ${origin}`))
    for (const url of urls) {
      const frame = document.createElement('iframe')
      frame.src = url
      document.body.append(frame)
    }
  }, urls)
  const settled = await until('every frame shows something', async () => {
    const told = await page.evaluate(() => window.told)
    const refused = page.frames().filter((frame) => frame.url().startsWith('chrome-error:')).length
    return told.length + refused === urls.length && told
  })
  return settled.map((line) => line.split(' ').at(-1)).sort()
}

const origins = [new URL(code).origin, new URL(app).origin].sort()
const shows = (got, want, who) => assert(JSON.stringify(got) === JSON.stringify(want), `${who} shows ${got}, want ${want}`)

await withPage(async (page) => {
  await page.goto(dashboard)
  shows(await frame(page, [code, app]), origins, 'the dashboard')
  await page.goto(stranger)
  shows(await frame(page, [code, app]), [], 'a stranger')
  await page.goto(code)
  shows(await frame(page, [app]), [new URL(app).origin], 'VS Code')
  await page.goto(app)
  shows(await frame(page, [code]), [], 'an app')
})
