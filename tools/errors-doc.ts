// Writes docs/errors.md from the table of errors: `npx node tools/errors-doc.ts`. tests/docs.test.ts fails when the two differ.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ERRORS } from '../src/contracts/errors.ts'

const RETRY_WORDS = {
  never: 'no: the same request fails again',
  later: 'when something else has changed',
  soon: 'yes, after a moment',
} as const

export function errorsDocument(): string {
  const rows = Object.entries(ERRORS)
  return `# Errors

Made from \`src/contracts/errors.ts\` by \`npx node tools/errors-doc.ts\`; edit it there.

Every failure that Holdfast expects has one of these ${rows.length} codes. The HTTP API answers with a problem document that carries the code, the
particulars in \`detail\` and the next step in \`hint\`; the command line prints the same and exits with the code's class. \`retryable\` tells a
program whether trying again can help, and is true for everything but *no*.

| code | HTTP | try again? |
|---|---|---|
${rows.map(([code, row]) => `| [\`${code}\`](#${code}) | ${row.http} | ${RETRY_WORDS[row.retry]} |`).join('\n')}

${rows.map(([code, row]) => `## ${code}\n\n${row.message}\n\n*What to do:* ${row.next}`).join('\n\n')}
`
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, '../docs/errors.md'), errorsDocument())
