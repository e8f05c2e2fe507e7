// Looks at a desktop through noVNC, and clicks and types on it.
//
//   node vnc.mjs URL
import { shoot, until, withPage } from './browser.mjs'

const [url] = process.argv.slice(2)

await withPage(async (page) => {
  await page.goto(`${url}/vnc.html?autoconnect=true&reconnect=false`)
  const canvas = page.locator('#noVNC_container canvas')
  await canvas.waitFor()

  // pixels describes what the canvas shows: how many colours, and a sum that
  // changes with the picture.
  const pixels = () => canvas.evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const colours = new Set()
    let sum = 0
    for (let i = 0; i < data.length; i += 4) {
      const colour = data[i] << 16 | data[i + 1] << 8 | data[i + 2]
      colours.add(colour)
      sum = (sum * 31 + colour) | 0
    }
    return { width: canvas.width, height: canvas.height, colours: colours.size, sum }
  })
  const first = await until('something is drawn', async () => {
    const now = await pixels()
    return now.width === 800 && now.height === 600 && now.colours > 1 && now
  })
  await until('the clock moves', async () => (await pixels()).sum !== first.sum)

  // At the middle of xev's window.
  await canvas.click({ position: { x: 200, y: 200 } })
  await page.keyboard.press('q')
  await shoot(page, 'desktop')
})
