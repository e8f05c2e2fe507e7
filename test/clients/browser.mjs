// What the scripts share: a headless Chromium, and a few ways to wait.
//
// The Go tests run each script with EDGE_E2E_CLIENTS, the directory in which
// tools/setup has put the npm packages, EDGE_E2E_CHROMIUM, the browser, and
// EDGE_E2E_SCREENSHOTS, where pictures go. A script that throws has failed.
import { createRequire } from 'node:module'
import { setTimeout as delay } from 'node:timers/promises'

export const packages = createRequire(process.env.EDGE_E2E_CLIENTS + '/')
const { chromium } = packages('playwright-core')

// Nothing takes a tenth of it on an idle machine.
export const patience = 60_000

// withPage opens a browser, hands a page of it to use, and closes it. The edge
// serves names of its own choice on the port of its URL: Chromium knows by
// itself that names below .localhost are this machine, and is told so for
// .cmux.test. What the page logs is shown when use fails.
export async function withPage(use, options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.EDGE_E2E_CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP *.cmux.test 127.0.0.1'],
  })
  const said = []
  let page
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
    page = await context.newPage()
    page.setDefaultTimeout(patience)
    page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => said.push(`error: ${error.message}`))
    page.on('requestfailed', (request) => said.push(`failed: ${request.url()}: ${request.failure()?.errorText}`))
    return await use(page)
  } catch (error) {
    console.error(said.slice(-40).join('\n'))
    if (page) await shoot(page, 'failed').catch(() => {})
    throw error
  } finally {
    await browser.close()
  }
}

// shoot keeps a picture of the page, named after the script.
export async function shoot(page, name, options = {}) {
  const script = process.argv[1].replace(/^.*\//, '').replace(/\.mjs$/, '')
  return page.screenshot({ path: `${process.env.EDGE_E2E_SCREENSHOTS}/${script}-${name}.png`, ...options })
}

// fits looks at the page on a narrow and on a wide screen, in the light and in
// the dark, and fails where it has to be moved sideways to be read.
export async function fits(page, name) {
  const size = page.viewportSize()
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    for (const width of [320, 1280]) {
      await page.setViewportSize({ width, height: 700 })
      const wants = await page.evaluate(() => document.documentElement.scrollWidth)
      assert(wants <= width, `${name} wants ${wants} pixels of ${width}`)
      await shoot(page, `${name}-${colorScheme}-${width}`)
    }
  }
  await page.setViewportSize(size)
}

// until polls get until it returns something truthy, and returns that.
export async function until(what, get) {
  const deadline = Date.now() + patience
  let last
  for (;;) {
    try {
      const got = await get()
      if (got) return got
      last = undefined
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${patience} ms`, { cause: last })
    await delay(50)
  }
}

export function assert(truth, what) {
  if (!truth) throw new Error(what)
}
