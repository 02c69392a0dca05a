// A label selector as SQL, with exactly the meaning of `matches` in contracts/selector.ts (a property test keeps them equal).
// `in` uses the jsonb_path_ops index, `exists` the jsonb_ops one; `!=` and `!k` match nearly everything, so they only filter.
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import type { Selector, SelectorTerm } from '../../contracts/selector.ts'

export function selectorSql(selector: Selector): readonly RawBuilder<SqlBool>[] {
  return selector.map(termSql)
}

function termSql(term: SelectorTerm): RawBuilder<SqlBool> {
  switch (term.op) {
    case 'in':
      // One containment per value: the index cannot search `@> any (…)`.
      return sql`(${sql.join(
        term.values.map((value) => sql`labels @> ${JSON.stringify({ [term.key]: value })}::jsonb`),
        sql` or `,
      )})`
    case 'notin':
      return sql`(labels ->> ${term.key} is null or labels ->> ${term.key} <> all (${[...term.values]}::text[]))`
    case 'exists':
      return sql`labels ? ${term.key}`
    case 'absent':
      return sql`not (labels ? ${term.key})`
  }
}
