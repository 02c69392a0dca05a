import { errnoOf as errnoIfAny } from '../base/errno.ts'

/** For messages: the errno, or words that say there is none. */
export const errnoOf = (error: unknown): string => errnoIfAny(error) ?? 'unknown error'
