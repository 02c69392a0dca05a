// Tables: aligned columns, two spaces between, no frames, so that awk and eyes both manage. On a terminal they fit its width: first the
// widest shrinkable columns lose characters (marked with …), then the columns that may go are left out, last one first. In a pipe nothing
// is cut and nothing left out.

import { oneLine } from './human.ts'
import type { Paint, Shade } from './paint.ts'

export interface Column<Row> {
  readonly head: string
  readonly cell: (row: Row) => string
  readonly shade?: (row: Row) => Shade | undefined
  readonly right?: true
  /** May be cut down to this many characters. */
  readonly shrinksTo?: number
  /** May be left out. */
  readonly spare?: true
}

const GAP = 2

export function table<Row>(rows: readonly Row[], all: readonly Column<Row>[], width: number, paint: Paint): string {
  const columns = leaveOut(rows, all, width)
  const cells = rows.map((row) => columns.map((column) => oneLine(column.cell(row)) || '-'))
  const widths = columns.map((column, index) => Math.max(column.head.length, ...cells.map((line) => [...(line[index] ?? '')].length)))
  shrink(widths, columns, width)
  const line = (texts: readonly string[], shadeOf: (index: number) => Shade | undefined) =>
    texts
      .map((text, index) => {
        const cut = cutTo(text, widths[index] ?? 0)
        const last = index === columns.length - 1
        const fill = ' '.repeat(Math.max(0, (widths[index] ?? 0) - [...cut].length))
        const painted = paint(shadeOf(index), cut)
        if (columns[index]?.right) return fill + painted
        return last ? painted : painted + fill
      })
      .join(' '.repeat(GAP))
  const head = line(
    columns.map((column) => column.head),
    () => 'dim',
  )
  const body = cells.map((texts, at) => {
    const row = rows[at]
    return line(texts, (index) => (row === undefined ? undefined : columns[index]?.shade?.(row)))
  })
  return `${[head, ...body].join('\n')}\n`
}

/** The columns that fit at their narrowest. */
function leaveOut<Row>(rows: readonly Row[], all: readonly Column<Row>[], width: number): readonly Column<Row>[] {
  const narrowest = (column: Column<Row>) => {
    const natural = Math.max(column.head.length, ...rows.map((row) => [...oneLine(column.cell(row))].length))
    return Math.min(natural, column.shrinksTo ?? natural)
  }
  const kept = all.map((column) => ({ column, width: narrowest(column) }))
  const total = () => kept.reduce((sum, each) => sum + each.width, 0) + GAP * (kept.length - 1)
  while (total() > width) {
    const last = kept.findLastIndex(({ column }) => column.spare)
    if (last < 0) break
    kept.splice(last, 1)
  }
  return kept.map(({ column }) => column)
}

function shrink(widths: number[], columns: readonly Column<never>[], width: number): void {
  if (!Number.isFinite(width)) return
  let over = widths.reduce((sum, each) => sum + each, 0) + GAP * (columns.length - 1) - width
  while (over > 0) {
    let widest = -1
    for (const [index, column] of columns.entries()) {
      const now = widths[index] ?? 0
      if (column.shrinksTo !== undefined && now > column.shrinksTo && now > (widths[widest] ?? 0)) widest = index
    }
    if (widest < 0) return
    widths[widest] = (widths[widest] ?? 1) - 1
    over -= 1
  }
}

/** At most `width` characters; what is lost is marked. */
export function cutTo(text: string, width: number): string {
  const chars = [...text]
  return chars.length <= width ? text : `${chars.slice(0, Math.max(0, width - 1)).join('')}…`
}

/** `key   value` lines for one object; empty values are left out. */
export function facts(pairs: readonly (readonly [name: string, value: string | null | undefined])[], paint: Paint): string {
  const shown = pairs.filter((pair): pair is readonly [string, string] => Boolean(pair[1]))
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return `${shown.map(([name, value]) => `${paint('dim', name.padEnd(width))}  ${value}`).join('\n')}\n`
}
