// How much the platform does by itself for one instance: changed while it lives, by people, over the API.
import { expect, test } from 'vitest'
import { apiServer, launch } from '../../../tests/support/api-server.ts'
import { describeStores, must } from '../../../tests/support/stores.ts'

describeStores('modes over the API', (bench) => {
  test('set, left to others again, guarded by If-Match, audited and told; a wish that already holds changes nothing', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const { id } = must(await operator.call('createInstance', { body: { ...launch(), recovery: { mode: 'observe' } } }))
    const params = { id }
    const nobody = { mode: null, set_on: null }
    expect(must(await operator.call('getInstance', { params })).modes).toEqual({
      recovery: { mode: 'observe', set_on: 'instance' },
      health_checks: nobody,
    })
    const off = must(await operator.call('putRecovery', { params, body: { mode: 'off', health_checks: 'off' }, ifMatch: 1 }))
    expect(off).toMatchObject({
      version: 2,
      desired: { generation: 2, spec: { recovery: { mode: 'off' } } },
      modes: { recovery: { mode: 'off', set_on: 'instance' }, health_checks: { mode: 'off', set_on: 'instance' } },
    })
    expect(must(await operator.call('putRecovery', { params, body: { mode: 'off' } }))).toMatchObject({ version: 2 })
    expect(await operator.call('putRecovery', { params, body: { mode: 'on' }, ifMatch: 1 })).toMatchObject({
      ok: false,
      error: { code: 'version_conflict', fields: { expected: 1, version: 2 } },
    })
    expect(must(await operator.call('whyInstance', { params })).modes).toEqual([
      'Recovery is off: set on it itself.',
      'Health checks are off: set on it itself.',
    ])
    const left = must(await operator.call('putRecovery', { params, body: { mode: null } }))
    expect(left).toMatchObject({ version: 3, modes: { recovery: nobody, health_checks: { mode: 'off' } } })
    expect('recovery' in left.desired.spec).toBe(false)
    expect(await operator.call('putRecovery', { params, body: {} })).toMatchObject({ ok: false, error: { code: 'invalid_input' } })
    const events = must(await operator.call('instanceEvents', { params })).items.filter(
      (event) => event.type === 'instance.desired_changed',
    )
    expect(events.map(({ data }) => [data.verb, data.recovery, data.health_checks])).toEqual([
      ['recovery', 'off', 'off'],
      ['recovery', null, undefined],
    ])
    const audit = must(await operator.call('listAudit', {})).items.filter((row) => row.action === 'putRecovery')
    expect(audit.map(({ outcome }) => outcome).sort()).toEqual(['accepted', 'accepted', 'accepted', 'refused'])
    expect(audit.some(({ data }) => data.mode === 'off' && data.health_checks === 'off')).toBe(true)
  })

  test('T34: recover is refused where recovery is off, with the way out; what others were given does not change that', async () => {
    const { as } = await apiServer(bench)
    const operator = as('operator')
    const { id } = must(await operator.call('createInstance', { body: launch() }))
    const params = { id }
    must(await operator.call('putRecovery', { params, body: { mode: 'off' } }))
    for (const body of [{}, { force: true }])
      expect(await operator.call('recoverInstance', { params, body })).toMatchObject({
        ok: false,
        error: { code: 'recovery_off' },
      })
    must(await operator.call('putRecovery', { params, body: { mode: 'observe' } }))
    const joined = must(await operator.call('recoverInstance', { params }))
    expect(joined.desired.generation).toBe(3)
    expect(must(await operator.call('recoverInstance', { params, body: { force: true } })).desired.generation).toBe(4)
  })
})
