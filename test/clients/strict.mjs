// Opens pages with strict policies: their own scripts run and nothing violates
// the policy, with the edge's script where the policy lets it in and without it
// where not.
//
//   node strict.mjs [URL script|none]...
import { assert, until, withPage } from './browser.mjs'

const args = process.argv.slice(2)

await withPage(async (page) => {
  for (let i = 0; i < args.length; i += 2) {
    const [url, want] = args.slice(i, i + 2)
    await page.goto(url)
    const seen = await until('the page has run', () => page.evaluate(() => {
      const { ran, violated } = document.documentElement.dataset
      const script = document.head.firstElementChild.getAttribute('src') === '/.edge/head.js'
      return ran && { violated, script, works: Symbol.for('cmux.edge.head') in window }
    }))
    assert(!seen.violated, `${url} violates its policy: ${seen.violated}`)
    assert(seen.script === (want === 'script') && seen.works === seen.script, `${url}: ${JSON.stringify(seen)}, want ${want}`)
  }
})
