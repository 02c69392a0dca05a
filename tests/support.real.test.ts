import { expect, test } from 'vitest'
import { sweep } from './support/leaks.ts'
import { describeNeeds } from './support/needs.ts'
import { dockerSocket, engineCall, TEST_IMAGE } from './support/probes.ts'

describeNeeds('docker', 'leaked containers', () => {
  test('a container that carries the mark of the run is named and removed', async () => {
    const run = `hfrun-of-a-test-${process.pid}`
    const socketPath = dockerSocket(process.env)
    const spec = { Image: TEST_IMAGE, Labels: { 'holdfast.io/test-run': run } }
    const created = await engineCall(socketPath, 'POST', '/containers/create', spec)
    expect(created.status).toBe(201)
    const { Id: id } = JSON.parse(created.body) as { Id: string }
    expect(await sweep({ run, socketPath, patienceMs: 0 })).toEqual([expect.stringContaining(`container ${id.slice(0, 12)}`)])
    expect((await engineCall(socketPath, 'GET', `/containers/${id}/json`)).status).toBe(404)
  })
})
