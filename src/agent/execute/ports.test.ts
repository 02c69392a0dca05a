import { createServer, type Server } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { specOf } from '../../../tests/support/plan-world.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { createPorts, type Ports } from './ports.ts'

const A = InstanceId.parse('inst_0000000000000000000a')
const B = InstanceId.parse('inst_0000000000000000000b')
const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve))
})

const portSpec = (host: number) => specOf({ ports: [{ internal: host, host }] })

async function resolved(ports: Ports, id: InstanceId, host: number, held: readonly number[] = [], vacant = false): Promise<number> {
  const got = await ports.resolve(id, portSpec(host), { held, vacant })
  if (!got.ok) throw new Error(got.error.detail)
  return got.value[0] ?? 0
}

async function listenOn(port: number): Promise<void> {
  const server = createServer()
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(port, '0.0.0.0', resolve))
}

test('a fixed port that went to another instance while this one was stopped is refused by name, not found out by a crash', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  ports.release(A)
  expect(await resolved(ports, B, port)).toBe(port)
  expect(await ports.resolve(A, portSpec(port), { held: [port], vacant: false })).toMatchObject({
    ok: false,
    error: { code: 'port_in_use', fields: { port } },
  })
})

test('a process and a container are not promised the same fixed port, although only one of them may listen yet', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  const container = (protocol: 'tcp' | 'udp') =>
    ports.resolve(B, specOf({ runtime: 'docker', image: 'x', ports: [{ internal: 80, host: port, protocol }] }), {
      held: [],
      vacant: false,
    })
  expect(await container('tcp')).toMatchObject({ ok: false, error: { code: 'port_in_use', detail: expect.stringContaining(A) } })
  expect(await container('udp')).toMatchObject({ ok: true, value: [port] })
  ports.release(A)
  expect(await container('tcp')).toMatchObject({ ok: true, value: [port] })
  expect(await ports.resolve(A, portSpec(port), { held: [], vacant: false })).toMatchObject({ ok: false, error: { code: 'port_in_use' } })
})

test('so is one that a stranger took meanwhile', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  ports.release(A)
  await listenOn(port)
  expect(await ports.resolve(A, portSpec(port), { held: [port], vacant: false })).toMatchObject({
    ok: false,
    error: { code: 'port_in_use' },
  })
  // Nothing of the refusal stays behind.
  expect(await ports.resolve(B, portSpec(port), { held: [], vacant: false })).toMatchObject({
    ok: false,
    error: { detail: expect.stringContaining('of the node') },
  })
})

test('a chosen port is kept over a stop, and chosen anew when it is somebody else by then', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  ports.release(A)
  expect(await resolved(ports, A, 0, [port])).toBe(port)
  ports.release(A)
  await listenOn(port)
  expect(await resolved(ports, A, 0, [port])).not.toBe(port)
})

test('a port the instance still holds is its own, whoever listens: its older incarnation does', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  await listenOn(port)
  expect(await resolved(ports, A, port, [port])).toBe(port)
})

test('when nothing of the instance lives, its chosen port is looked at: one that a stranger has is chosen anew, any other is kept', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  expect(await resolved(ports, A, 0, [port], true)).toBe(port)
  await listenOn(port)
  const other = await resolved(ports, A, 0, [port], true)
  expect(other).not.toBe(port)
  // What was given up is not kept from others, and the new one is held.
  await new Promise((resolve) => servers.pop()?.close(resolve))
  expect(await resolved(ports, B, port)).toBe(port)
  expect(await resolved(ports, A, 0, [other], true)).toBe(other)
})

test('a port that the user fixed is never exchanged: a stranger on it is named', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  await listenOn(port)
  expect(await ports.resolve(A, portSpec(port), { held: [port], vacant: true })).toMatchObject({
    ok: false,
    error: { code: 'port_in_use', fields: { port } },
  })
})

test('of two who want one port at the same moment one gets it', async () => {
  const ports = createPorts()
  const port = await resolved(ports, A, 0)
  ports.release(A)
  const both = await Promise.all([
    ports.resolve(A, portSpec(port), { held: [], vacant: false }),
    ports.resolve(B, portSpec(port), { held: [], vacant: false }),
  ])
  expect(both.filter((one) => one.ok)).toHaveLength(1)
})
