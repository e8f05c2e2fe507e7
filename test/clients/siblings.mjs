// Calls one port of a sandbox from pages of other origins.
//
//   node siblings.mjs API APP DASHBOARD STRANGER
import { assert, withPage } from './browser.mjs'

const [api, app, dashboard, stranger] = process.argv.slice(2)

// call fetches the API from the page: read, with credentials, and write in a
// way that needs a preflight.
const call = (page) => page.evaluate(async (api) => {
  const answer = (options) => fetch(api + '/x', { credentials: 'include', ...options }).then((r) => r.json(), () => undefined)
  return {
    read: await answer({}),
    write: await answer({ method: 'PUT', headers: { 'x-own': '1', 'content-type': 'application/json' }, body: '{"a":1}' }),
  }
}, api)

await withPage(async (page) => {
  await page.goto(api + '/login')
  await page.goto(app)
  const { read, write } = await call(page)
  assert(read?.origin === '' || read?.origin === app, `a sibling read ${JSON.stringify(read)}`)
  assert(read.cookie === 'session=s', `a sibling's cookie is ${JSON.stringify(read)}`)
  assert(write?.method === 'PUT' && write.body === '{"a":1}' && write.cookie === 'session=s', `a sibling wrote ${JSON.stringify(write)}`)
  // What the browser has from the sibling's call must not serve the API's own.
  await page.goto(api + '/x')
  assert((await page.textContent('body')).includes('session=s'), 'the API does not answer its own page')

  await page.goto(dashboard)
  const seen = await call(page)
  assert(seen.read?.path === '/x' && seen.write?.method === 'PUT', `the dashboard saw ${JSON.stringify(seen)}`)

  await page.goto(stranger)
  const strange = await call(page)
  assert(!strange.read && !strange.write, `a stranger saw ${JSON.stringify(strange)}`)
})
