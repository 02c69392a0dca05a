import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { gzipSync } from 'node:zlib'
import { expect, onTestFinished, test } from 'vitest'
import { dockerHarness } from '../../../../tests/support/docker-harness.ts'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { TEST_IMAGE } from '../../../../tests/support/probes.ts'
import { runId } from '../../../../tests/support/run.ts'
import { systemRandom } from '../../../base/system.ts'
import { writeTar } from '../../cloud-init/tar.ts'
import { Bench, must } from '../conformance-kit.ts'

const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** A registry with one image of one file, on a loopback port, which the engine trusts without TLS. */
async function registry(faults: { readonly manifest?: number } = {}) {
  const content = Buffer.from(systemRandom.text(40))
  const tar = writeTar([{ path: 'hello', kind: 'file', mode: 0o644, uid: 0, gid: 0, mtimeMs: 0, content }])
  const layer = gzipSync(tar)
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Cmd: ['/hello'] },
      rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
    }),
  )
  const part = (mediaType: string, bytes: Buffer) => ({ mediaType, size: bytes.length, digest: digestOf(bytes) })
  const type = 'application/vnd.docker.distribution.manifest.v2+json'
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: type,
      config: part('application/vnd.docker.container.image.v1+json', config),
      layers: [part('application/vnd.docker.image.rootfs.diff.tar.gzip', layer)],
    }),
  )
  const blobs = new Map([config, layer].map((bytes) => [digestOf(bytes), bytes]))
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    if (path === '/v2/') return void response.writeHead(200).end()
    if (path === '/v2/one/manifests/1' || path === `/v2/one/manifests/${digestOf(manifest)}`) {
      response.writeHead(faults.manifest ?? 200, {
        'content-type': type,
        'docker-content-digest': digestOf(manifest),
        'content-length': manifest.length,
      })
      return void response.end(request.method === 'HEAD' ? undefined : manifest)
    }
    if (path.includes('/manifests/')) {
      // What a registry says, by its specification.
      const body = JSON.stringify({
        errors: [{ code: path.startsWith('/v2/none/') ? 'NAME_UNKNOWN' : 'MANIFEST_UNKNOWN', message: 'unknown' }],
      })
      return void response.writeHead(404, { 'content-type': 'application/json' }).end(body)
    }
    const blob = blobs.get(path.split('/').at(-1) ?? '')
    response.writeHead(blob ? 200 : 404, blob && { 'content-length': blob.length })
    response.end(blob)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
  onTestFinished(close)
  const address = server.address()
  const host = `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
  return { image: `${host}/one:1`, byDigest: `${host}/one@${digestOf(manifest)}`, absent: [`${host}/none:1`, `${host}/one:2`], close }
}

async function fetcher() {
  const harness = await dockerHarness()
  onTestFinished(() => harness.dispose())
  const bench = new Bench(harness)
  return async (image: string) => {
    const result = await bench.driver.prepare(bench.want({ kind: 'run' }, { image }), bench.signal)
    onTestFinished(async () => void (await harness.call('DELETE', `/images/${image}?force=1`)))
    return result.ok ? 'ok' : result.error.code
  }
}

describeNeeds('docker', 'docker driver: fetching images', () => {
  test('by tag, and again without asking the registry', async () => {
    const { image, close } = await registry()
    const fetch = await fetcher()
    expect(await fetch(image)).toBe('ok')
    await close()
    expect(await fetch(image)).toBe('ok')
  })
  test('by digest', async () => {
    const { byDigest } = await registry()
    expect(await (await fetcher())(byDigest)).toBe('ok')
  })
  test('what it fetched itself is remembered over its own end, and removed when nobody uses it; what was there before never', async () => {
    const [used, named, free] = [await registry(), await registry(), await registry()]
    const harness = await dockerHarness()
    onTestFinished(() => harness.dispose())
    const bench = new Bench(harness)
    for (const { image } of [used, named, free]) {
      onTestFinished(async () => void (await harness.call('DELETE', `/images/${image}?force=1`)))
      expect((await bench.driver.prepare(bench.want({ kind: 'run' }, { image }), bench.signal)).ok).toBe(true)
    }
    // This one the engine had before anybody asked for it.
    expect((await bench.driver.prepare(bench.want({ kind: 'run' }, { image: TEST_IMAGE }), bench.signal)).ok).toBe(true)
    const made = await harness.call('POST', '/containers/create', { Image: used.image, Labels: { 'holdfast.test/run': runId() } })
    onTestFinished(async () => void (await harness.call('DELETE', `/containers/${JSON.parse(made.body).Id}?force=1`)))
    const other = `own-name-${systemRandom.text(8)}`
    await harness.call('POST', `/images/${named.image}/tag?repo=${other}&tag=1`)
    onTestFinished(async () => void (await harness.call('DELETE', `/images/${other}:1?force=1`)))

    const { images } = await harness.reopen()
    if (!images) throw new Error('docker has images')
    const found = must(await images.fetched(bench.signal))
    expect(found.map(({ image, used: inUse }) => [image, inUse])).toEqual([
      [used.image, true],
      [named.image, true],
      [free.image, false],
    ])
    expect(found.every(({ bytes, imageId }) => bytes > 0 && imageId.startsWith('sha256:'))).toBe(true)
    const removed = []
    for (const { image, imageId } of found) removed.push(must(await images.remove(image, imageId, bench.signal)))
    expect(removed).toEqual([false, false, true])
    expect((await harness.call('GET', `/images/${free.image}/json`)).status).toBe(404)
    expect((await harness.call('GET', `/images/${named.image}/json`)).status).toBe(200)
    expect(must(await images.fetched(bench.signal)).map(({ image }) => image)).toEqual([used.image, named.image])
    for (const { image, imageId } of found.slice(2)) expect(must(await images.remove(image, imageId, bench.signal))).toBe(true)
  })
  test('an image the registry does not have is not found', async () => {
    const { absent } = await registry()
    const fetch = await fetcher()
    expect(await Promise.all(absent.map(fetch))).toEqual(['image_not_found', 'image_not_found'])
  })
  test('C64: a registry that is broken or not there: failed, to be tried again', async () => {
    const fetch = await fetcher()
    expect(await fetch((await registry({ manifest: 500 })).image)).toBe('image_pull_failed')
    const gone = await registry()
    await gone.close()
    expect(await fetch(gone.image)).toBe('image_pull_failed')
  })
})
