/** Who did something: `token:NAME`, or `system:LOOP` for the platform's own loops. */
export type Actor = `token:${string}` | `system:${string}`
