/** The errno of a file system error; these words are the kernel's, so they are safe to branch on. */
export const errnoOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : 'unknown error')
