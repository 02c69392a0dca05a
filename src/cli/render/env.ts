// How apps and envs look, and how their replicas read as lines that follow each other.
import type { EnvStatusView } from '../../contracts/views.ts'
import { type Paint, shadeOf } from './paint.ts'
import { type Column, table } from './table.ts'

interface Row {
  readonly env: EnvStatusView
  readonly process: EnvStatusView['processes'][number]
}

export function envTable(envs: readonly EnvStatusView[], width: number, paint: Paint): string {
  const rows: readonly Row[] = envs.flatMap((env) => env.processes.map((process) => ({ env, process })))
  const columns: readonly Column<Row>[] = [
    { head: 'APP', cell: ({ env }) => env.app, shrinksTo: 10 },
    { head: 'ENV', cell: ({ env }) => env.env },
    { head: 'STATE', cell: ({ env }) => env.state, shade: ({ env }) => shadeOf(env.state) },
    { head: 'PROCESS', cell: ({ process }) => process.name },
    { head: 'WANTED', cell: ({ process }) => String(process.wanted), right: true },
    { head: 'RUNNING', cell: ({ process }) => String(process.running), right: true, spare: true },
    { head: 'READY', cell: ({ process }) => String(process.ready), right: true },
    { head: 'UP TO DATE', cell: ({ process }) => String(process.current), right: true, spare: true },
    {
      head: 'REPLICAS',
      cell: ({ process }) => process.instances.map((each) => `${each.name}:${each.state}`).join(' '),
      shrinksTo: 12,
      spare: true,
    },
  ]
  return table(rows, columns, width, paint)
}

/** `converging: web 1 of 2 ready, 2 up to date`. */
export function envLine(env: EnvStatusView): string {
  const parts = env.processes.map((process) => `${process.name} ${process.ready} of ${process.wanted} ready, ${process.current} up to date`)
  return `${env.app} ${env.env} ${env.state}: ${parts.join('; ')}`
}
