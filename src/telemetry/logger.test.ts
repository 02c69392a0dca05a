import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { createLogger } from './logger.ts'

function capture() {
  const lines: string[] = []
  return { lines, destination: { write: (line: string) => lines.push(line) } }
}

test('a line carries level as a word, RFC 3339 time, msg, component and its fields', () => {
  const { lines, destination } = capture()
  const log = createLogger({ level: 'info', component: 'control', destination, clock: { wallMs: () => 1_700_000_000_000 } })
  log.warn('vm marked unhealthy', { vm_id: 'inst_1', downtime_ms: 12 })
  log.child('api').info('listening')
  log.debug('not shown')
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { level: 'warn', time: '2023-11-14T22:13:20.000Z', msg: 'vm marked unhealthy', component: 'control', vm_id: 'inst_1', downtime_ms: 12 },
    { level: 'info', time: '2023-11-14T22:13:20.000Z', msg: 'listening', component: 'api' },
  ])
})

test('the published search matches the text of a line as written', () => {
  const { lines, destination } = capture()
  createLogger({ level: 'info', component: 'agent', destination }).error('vm recovery failed completely', { vm_id: 'inst_1', attempts: 3 })
  expect(lines[0]).toContain('"msg":"vm recovery failed completely"')
  expect(lines[0]).toContain('"level":"error"')
  expect(lines[0]!.endsWith('\n')).toBe(true)
})

test('a line written just before process.exit is not lost', () => {
  const script = `
    import { createLogger } from ${JSON.stringify(new URL('./logger.ts', import.meta.url).href)}
    createLogger({ level: 'info', component: 'x', destination: 1 }).info('last words')
    process.exit(3)`
  let output = ''
  try {
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch (error) {
    output = error instanceof Error && 'stdout' in error ? String(error.stdout) : ''
  }
  expect(JSON.parse(output)).toMatchObject({ level: 'info', msg: 'last words' })
})
