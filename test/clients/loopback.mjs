// Opens a page that calls its API on localhost, where nothing listens.
//
//   node loopback.mjs APP API
import { assert, until, withPage } from './browser.mjs'

const [app, api] = process.argv.slice(2)

await withPage(async (page) => {
  await page.goto(app)
  const shown = await until('every call has ended', () => page.evaluate(() => {
    const shown = { ...document.body.dataset }
    return Object.keys(shown).length === 7 && shown
  }))
  for (const [name, value] of Object.entries(shown)) assert(!value.startsWith('failed'), `${name} ${value}`)
  const got = Object.fromEntries(Object.entries(shown).map(([name, value]) => [name, JSON.parse(value)]))
  const check = (name, want) => {
    for (const key of Object.keys(want)) assert(got[name][key] === want[key], `${name} is ${shown[name]}, want ${key} ${want[key]}`)
  }
  check('fetch', { method: 'GET', path: '/api', origin: app })
  check('put', { method: 'PUT', path: '/api', body: '{}' })
  check('request', { method: 'POST', path: '/api', body: 'text' })
  check('xhr', { method: 'GET', path: '/xhr' })
  check('socket', ['hello', 'first', true, 1])
  assert(got.own === 'own' && got.events === 'an event', JSON.stringify(got))

  const arrives = async (what, act, path, body) => {
    await page.goto(app)
    await act()
    await page.waitForURL(api + path)
    const answer = JSON.parse(await page.textContent('body'))
    assert(body === undefined || answer.body === body, `${what} sent ${JSON.stringify(answer)}`)
  }
  await arrives('the link', () => page.click('#link'), '/linked')
  await arrives('the form', () => page.click('#form button'), '/form', 'q=by+form&b=1')
  await arrives('the form of its button', () => page.click('#other button'), '/formaction', 'q=by+its+button')
  await arrives('the form without event', () => page.evaluate(() => document.getElementById('silent').submit()), '/silent', 'q=by+script&action=a&getAttribute=')
  await arrives('the redirect', () => page.goto(app + '/redirect'), '/redirected?to=here')

  await page.goto(app)
  const popup = page.waitForEvent('popup')
  await page.evaluate((port) => { open(`http://localhost:${port}/opened`) }, new URL(api).hostname.match(/port-(\d+)/)[1])
  await (await popup).waitForURL(api + '/opened')
})
