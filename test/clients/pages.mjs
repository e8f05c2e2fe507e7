// Looks at pages of the edge's own.
//
//   node pages.mjs [URL STATUS SENTENCE]...
import { assert, fits, withPage } from './browser.mjs'

const args = process.argv.slice(2)

await withPage(async (page) => {
  for (let i = 0; i < args.length; i += 3) {
    const [url, status, sentence] = args.slice(i, i + 3)
    const response = await page.goto(url)
    assert(response.status() === Number(status), `${url}: got ${response.status()}, want ${status}`)
    await page.getByRole('heading', { name: sentence, exact: true }).waitFor()
    const id = response.headers()['x-request-id']
    assert(id && (await page.locator('body').textContent()).includes(id), `${url}: the page does not tell its request id`)
    await fits(page, status)
  }
})
