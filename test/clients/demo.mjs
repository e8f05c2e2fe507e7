// Uses the demo's page: counts, watches events, talks to its WebSocket.
//
//   node demo.mjs URL OTHER
import { assert, fits, shoot, until, withPage } from './browser.mjs'

const [url, other] = process.argv.slice(2)

await withPage(async (page) => {
  await page.goto(url)
  await page.getByRole('heading', { name: 'Sandbox demo' }).waitFor()
  const before = Number(await page.locator('#counter').textContent())
  await page.getByRole('button', { name: 'Count' }).click()
  await until('the counter counts', async () => Number(await page.locator('#counter').textContent()) === before + 1)

  const tick = async () => Number.parseInt(await page.locator('#ticks').textContent())
  const first = await until('a tick', async () => (await tick()) + 1) - 1
  await until('another tick', async () => (await tick()) > first)

  const echo = page.locator('#echo')
  await until('the WebSocket is connected', async () => (await echo.textContent()) === 'connected')
  await page.getByLabel('Message').fill('through the edge')
  await page.getByRole('button', { name: 'Send' }).click()
  await until('the echo', async () => (await echo.textContent()) === 'through the edge')

  await fits(page, 'demo')

  // Another sandbox has a memory of its own.
  await page.goto(other)
  await page.getByRole('heading', { name: 'Sandbox other' }).waitFor()
  assert(await page.locator('#counter').textContent() === '0', 'the other sandbox has counted too')
  await shoot(page, 'other')
})
