// Leads what a page says to loopback back to its sandbox.
//
// A page under development calls its other servers by http://localhost:3001.
// In the sandbox that is right; in a browser far away it is another machine.
// Every port of the sandbox has a public host, so such an address is mapped to
// that, wherever a page can hand one to the browser. Everything else is left as
// it is. The edge puts this script first into documents; { before, after } stand
// around the port in those hosts.
(function (sandbox) {
  'use strict'
  const { before, after, retire } = sandbox
  const mark = Symbol.for('cmux.edge.head')
  if (window[mark]) return
  Object.defineProperty(window, mark, { value: true })

  const loopback = /^(localhost|0\.0\.0\.0|127(\.\d+){3}|\[::1?\])$/
  const secure = location.protocol === 'https:'
  const schemes = secure
    ? { 'http:': 'https:', 'https:': 'https:', 'ws:': 'wss:', 'wss:': 'wss:' }
    : { 'http:': 'http:', 'https:': 'http:', 'ws:': 'ws:', 'wss:': 'ws:' }

  // map returns the public address for one of loopback, and anything else as it
  // was given: a relative address must stay relative, an object an object.
  function map(address) {
    let url
    try {
      url = new URL(address, document.baseURI)
    } catch {
      return address
    }
    const scheme = schemes[url.protocol]
    if (!scheme || !loopback.test(url.hostname)) return address
    const port = url.port || (url.protocol === 'https:' || url.protocol === 'wss:' ? '443' : '80')
    return `${scheme}//${before}${port}${after}${url.pathname}${url.search}${url.hash}`
  }

  // mapArgument makes every call of object[name] map its argument at index.
  function mapArgument(object, name, index = 0) {
    const original = object?.[name]
    if (typeof original !== 'function') return
    object[name] = new Proxy(original, {
      apply(target, self, args) {
        if (args.length > index) args[index] = map(args[index])
        return Reflect.apply(target, self, args)
      },
    })
  }

  // mapConstructed makes every new window[name] map its first argument.
  function mapConstructed(name) {
    const original = window[name]
    if (typeof original !== 'function') return
    window[name] = new Proxy(original, {
      construct(target, args, newTarget) {
        if (args.length > 0) args[0] = map(args[0])
        return Reflect.construct(target, args, newTarget)
      },
    })
  }

  mapArgument(window, 'open')
  mapArgument(XMLHttpRequest.prototype, 'open', 1)
  mapConstructed('WebSocket')
  mapConstructed('EventSource')

  window.fetch = new Proxy(window.fetch, {
    apply(target, self, args) {
      const [input, init] = args
      if (!(input instanceof Request)) {
        if (args.length > 0) args[0] = map(input)
      } else if (map(input.url) !== input.url) {
        return readdress(input).then((mapped) => Reflect.apply(target, self, [mapped, init]))
      }
      return Reflect.apply(target, self, args)
    },
  })

  // readdress copies a Request, which can't be given another address. Its body
  // is read first: handed over as a stream, it could be sent by HTTP/2 only.
  async function readdress(request) {
    const { method, headers, mode, credentials, cache, redirect, referrer, referrerPolicy, integrity, keepalive, signal } = request
    const bodiless = method === 'GET' || method === 'HEAD'
    const body = bodiless ? undefined : await request.blob()
    return new Request(map(request.url), {
      method, headers, mode, credentials, cache, redirect, referrer, referrerPolicy, integrity, keepalive, signal, body,
    })
  }

  // mapAttribute maps an element's own address before the browser follows it. A
  // form may have a control named like the method, hence the detour.
  const { getAttribute, setAttribute } = Element.prototype
  function mapAttribute(element, name) {
    const address = getAttribute.call(element, name)
    if (!address) return
    const mapped = map(address)
    if (mapped !== address) setAttribute.call(element, name, mapped)
  }

  function followed(event) {
    const link = event.composedPath().find((node) => node instanceof Element && node.matches('a[href], area[href]'))
    if (link) mapAttribute(link, 'href')
  }
  addEventListener('click', followed, true)
  addEventListener('auxclick', followed, true)

  addEventListener('submit', (event) => {
    mapAttribute(event.composedPath()[0], 'action')
    if (event.submitter) mapAttribute(event.submitter, 'formaction')
  }, true)
  // This one sends no event.
  HTMLFormElement.prototype.submit = new Proxy(HTMLFormElement.prototype.submit, {
    apply(target, form, args) {
      if (form instanceof HTMLFormElement) mapAttribute(form, 'action')
      return Reflect.apply(target, form, args)
    },
  })

  // The router before this one installed a service worker on every host. Nobody
  // else's has that name, and an app's own is left alone.
  async function retireWorkers() {
    for (const registration of await navigator.serviceWorker?.getRegistrations() ?? []) {
      const worker = registration.active ?? registration.waiting ?? registration.installing
      if (worker && new URL(worker.scriptURL).pathname === '/proxy-sw.js') await registration.unregister()
    }
  }
  if (retire) retireWorkers().catch(() => {}) // a sandboxed frame may not ask
})
