// The client of one command, and the few things most verbs do with it.
import { ok, type Result } from '../base/result.ts'
import type { Client } from '../client/client.ts'
import type { Failure } from '../contracts/errors.ts'
import type { Core } from './core.ts'
import { clientSettings } from './settings.ts'

export interface Where {
  readonly core: Core
  readonly flags: { readonly url: string | undefined; readonly dataDir: string | undefined }
}

export async function connect({ core, flags }: Where): Promise<Result<Client, Failure>> {
  const settings = clientSettings(core, flags)
  if (!settings.ok) return settings
  const { createClient } = await import('../client/client.ts')
  return ok(createClient({ ...settings.value, clock: core.clock, random: core.random }))
}

const PAGE_MAX = 200

interface Page<Item> {
  readonly items: readonly Item[]
  readonly next_cursor: string | null
}
export interface Collected<Item> {
  readonly items: readonly Item[]
  /** The server has more than `limit`. */
  readonly more: boolean
}
export interface PageQuery {
  readonly limit: number
  readonly cursor?: string
}

/** Reads pages until there are no more, or `limit` items. */
export async function collect<Item>(
  limit: number,
  fetchPage: (query: PageQuery) => Promise<Result<Page<Item>, Failure>>,
): Promise<Result<Collected<Item>, Failure>> {
  const items: Item[] = []
  let cursor: string | null = null
  for (;;) {
    const page: Result<Page<Item>, Failure> = await fetchPage({
      limit: Math.min(PAGE_MAX, limit - items.length),
      ...(cursor !== null && { cursor }),
    })
    if (!page.ok) return page
    items.push(...page.value.items)
    cursor = page.value.next_cursor
    if (cursor === null || page.value.items.length === 0) return ok({ items, more: false })
    if (items.length >= limit) return ok({ items, more: true })
  }
}

export const LIST_LIMIT = 1000
export const moreNote = (shown: number): string => `only the first ${shown} are shown; --limit N shows more`
