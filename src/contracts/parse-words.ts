import type { z } from 'zod'

/** Given to each parse of what people wrote: a key that is not there is called that, not "received undefined". */
export const WORDS: z.core.ParseContext<z.core.$ZodIssue> = {
  error: (issue) => (issue.code === 'invalid_type' && issue.input === undefined ? 'is required' : undefined),
}
