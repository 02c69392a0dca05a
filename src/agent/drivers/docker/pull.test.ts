import { expect, onTestFinished, test } from 'vitest'
import { fakeEngine, json } from '../../../../tests/support/fake-engine.ts'
import { systemClock } from '../../../base/system.ts'
import { Engine } from './engine.ts'
import { ensureImage, splitReference } from './pull.ts'

const signal = () => new AbortController().signal
async function setUp() {
  const fake = await fakeEngine()
  const engine = new Engine({ socketPath: fake.socketPath, clock: systemClock })
  onTestFinished(() => engine.close())
  fake.on('GET /images/*', json(404, { message: 'none' }))
  return { fake, engine }
}
const codeOf = (result: Awaited<ReturnType<typeof ensureImage>>) => (result.ok ? 'ok' : result.error.code)

test.each([
  ['nginx', 'nginx', 'latest'],
  ['nginx:1.27', 'nginx', '1.27'],
  ['reg.example:5000/a/b', 'reg.example:5000/a/b', 'latest'],
  ['reg.example:5000/a/b:2', 'reg.example:5000/a/b', '2'],
  ['a@sha256:00', 'a', 'sha256:00'],
  ['reg.example:5000/a:2@sha256:00', 'reg.example:5000/a', 'sha256:00'],
])('reference %s', (image, name, tag) => {
  expect(splitReference(image)).toEqual({ name, tag })
})

test('an image that is here is not fetched', async () => {
  const { fake, engine } = await setUp()
  fake.on('GET /images/a:1/json', json(200, {}))
  expect(codeOf(await ensureImage(engine, 'a:1', signal()))).toBe('ok')
  expect(fake.requests.some((one) => one.startsWith('POST'))).toBe(false)
})

test.each([
  ['a status of 404', 404, 'image_not_found'],
  ['a status of 403', 403, 'image_not_found'],
  ['a status of 500 (no way to the registry)', 500, 'image_pull_failed'],
])('C63: %s is %s', async (_, status, code) => {
  const { fake, engine } = await setUp()
  fake.on('POST /images/create', json(status, { message: 'port not found, bind failed' }))
  expect(codeOf(await ensureImage(engine, 'a:1', signal()))).toBe(code)
})

test.each([
  ['with the code of a registry', { errorDetail: { code: 404, message: 'gone' }, error: 'gone' }, 'image_not_found'],
  [
    'without a code, whatever its words',
    { errorDetail: { message: 'manifest not found' }, error: 'manifest not found' },
    'image_pull_failed',
  ],
])('C63: an error inside an answer of 200, %s', async (_, line, code) => {
  const { fake, engine } = await setUp()
  fake.on('POST /images/create', (_request, response) => {
    response.writeHead(200)
    response.end(`{"status":"Pulling"}\r\n${JSON.stringify(line)}\r\n`)
  })
  expect(codeOf(await ensureImage(engine, 'a:1', signal()))).toBe(code)
})

test('a pull that ends well without the image is not believed', async () => {
  const { fake, engine } = await setUp()
  fake.on('POST /images/create', (_request, response) => void response.writeHead(200).end('{"status":"done"}\n'))
  expect(codeOf(await ensureImage(engine, 'a:1', signal()))).toBe('image_pull_failed')
})

test('a daemon that dies in the middle of a pull is unreachable', async () => {
  const { fake, engine } = await setUp()
  fake.on('POST /images/create', (_request, response) => {
    response.writeHead(200).write('{"status":"Downloading"}\n')
    setImmediate(() => response.socket?.destroy())
  })
  expect(codeOf(await ensureImage(engine, 'a:1', signal()))).toBe('runtime_unreachable')
})

test('a reference cannot lead to another route of the engine', async () => {
  const { fake, engine } = await setUp()
  expect(codeOf(await ensureImage(engine, 'a/../../containers/x', signal()))).toBe('image_not_found')
  expect(fake.requests).toEqual([])
})
