// Registers the old router's service worker and one of the app's own, and looks
// which are left after another visit.
//
//   node workers.mjs [URL retire|off]...
import { assert, until, withPage } from './browser.mjs'

const args = process.argv.slice(2)
const answered = (page, path) => page.evaluate(async (path) => (await fetch(path)).text(), path)
const registered = (page) => page.evaluate(async () =>
  (await navigator.serviceWorker.getRegistrations()).map((r) => new URL(r.active.scriptURL).pathname).sort().join())

await withPage(async (page) => {
  for (let i = 0; i < args.length; i += 2) {
    const [url, mode] = args.slice(i, i + 2)
    await page.goto(url)
    await page.evaluate(async () => {
      await navigator.serviceWorker.register('/proxy-sw.js')
      await navigator.serviceWorker.ready
      const own = await navigator.serviceWorker.register('/app/sw.js')
      const worker = own.installing ?? own.waiting ?? own.active
      if (worker.state !== 'activated') {
        await new Promise((resolve) => { worker.onstatechange = () => worker.state === 'activated' && resolve() })
      }
    })
    assert(await registered(page) === '/app/sw.js,/proxy-sw.js', 'the workers are not there')
    await until('the old worker answers', async () => await answered(page, '/answered') === '/proxy-sw.js')

    await page.goto(url + '/app/')
    const left = mode === 'retire' ? '/app/sw.js' : '/app/sw.js,/proxy-sw.js'
    await until(`${left} is left`, async () => await registered(page) === left)
    assert(await answered(page, '/app/answered') === '/app/sw.js', "the app's own worker does not answer")

    await page.goto(url)
    const by = await answered(page, '/answered')
    assert(by === (mode === 'retire' ? 'the server' : '/proxy-sw.js'), `with ${mode}, ${by} answers`)
  }
})
