// Many instances of a platform: made by several clients at once, and counted.
import type { InstanceView } from '../../src/contracts/views.ts'
import type { Platform } from './platform.ts'

export const CLIENTS = 8

export async function all(platform: Platform, query: { readonly state?: string }): Promise<readonly InstanceView[]> {
  const items: InstanceView[] = []
  let cursor: string | undefined
  do {
    const page = await platform.client.call('listInstances', { query: { limit: 200, ...query, ...(cursor && { cursor }) } })
    if (!page.ok) throw new Error(page.error.detail)
    items.push(...page.value.items)
    cursor = page.value.next_cursor ?? undefined
  } while (cursor)
  return items
}

/** How many are in this state. */
export const count = async (platform: Platform, state: string): Promise<number> => (await all(platform, { state })).length

/** Those with more than one incarnation. */
export const restarted = async (platform: Platform): Promise<number> =>
  (await all(platform, {})).filter((item) => item.incarnation > 1).length

export async function launch(
  platform: Platform,
  names: readonly string[],
  body: object,
): Promise<{ readonly perSecond: number; readonly latencies: readonly number[] }> {
  const waiting = [...names]
  const latencies: number[] = []
  const startMs = performance.now()
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let name = waiting.pop(); name; name = waiting.pop()) {
        const atMs = performance.now()
        const made = await platform.client.call('createInstance', { body: { name, command: ['sleep', '1000000'], memory: '4Mi', ...body } })
        if (!made.ok) throw new Error(`${name}: ${made.error.detail}`)
        latencies.push(performance.now() - atMs)
      }
    }),
  )
  return { perSecond: names.length / ((performance.now() - startMs) / 1000), latencies }
}
