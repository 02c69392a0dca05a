/** Who did something: `token:NAME`, `token:ORG_ID/NAME` of a token of one organisation, or `system:LOOP` for the platform's own loops. */
export type Actor = `token:${string}` | `system:${string}`
