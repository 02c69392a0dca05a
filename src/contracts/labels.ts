// Labels (indexed, for selection) and metadata (free text) of an instance: grammar and limits, as in docs/api.md.
import { z } from 'zod'

export const LABEL_KEY = /^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$/
export const LABEL_VALUE = /^[A-Za-z0-9._-]{0,63}$/
export const RESERVED_PREFIX = 'holdfast.io/'
export const LABELS_MAX = 64
export const METADATA_KEYS_MAX = 64
export const METADATA_KEY_LENGTH_MAX = 128
export const METADATA_VALUE_BYTES_MAX = 4096
export const METADATA_BYTES_MAX = 65_536

const bytes = (text: string) => Buffer.byteLength(text)
const noNul = (text: string) => !text.includes('\0')

const LabelKey = z
  .string()
  .regex(LABEL_KEY, 'a label key is 1 to 63 of a-z 0-9 . _ / - and begins and ends with a letter or digit')
  .refine((key) => !key.startsWith(RESERVED_PREFIX), `keys under ${RESERVED_PREFIX} belong to the platform`)
const LabelValue = z.string().regex(LABEL_VALUE, 'a label value is at most 63 of A-Z a-z 0-9 . _ -')
const MetadataKey = z
  .string()
  .min(1)
  .max(METADATA_KEY_LENGTH_MAX)
  .refine(noNul, 'must not contain a NUL byte')
  .refine((key) => !key.startsWith(RESERVED_PREFIX), `keys under ${RESERVED_PREFIX} belong to the platform`)
const MetadataValue = z
  .string()
  .refine((text) => bytes(text) <= METADATA_VALUE_BYTES_MAX, 'a metadata value is at most 4096 bytes')
  .refine(noNul, 'must not contain a NUL byte')

const metadataSize = (map: Readonly<Record<string, string | null>>) =>
  Object.entries(map).reduce((sum, [key, value]) => sum + bytes(key) + bytes(value ?? ''), 0)

export const Labels = z.record(LabelKey, LabelValue).refine((map) => Object.keys(map).length <= LABELS_MAX, `at most ${LABELS_MAX} labels`)
export type Labels = z.infer<typeof Labels>

export const Metadata = z
  .record(MetadataKey, MetadataValue)
  .refine((map) => Object.keys(map).length <= METADATA_KEYS_MAX, `at most ${METADATA_KEYS_MAX} metadata keys`)
  .refine((map) => metadataSize(map) <= METADATA_BYTES_MAX, 'metadata is at most 64 KiB in all')
export type Metadata = z.infer<typeof Metadata>

/** A change: given keys are set, `null` deletes, the rest stays. The result is checked against `Labels` / `Metadata`. */
export const LabelsPatch = z.record(LabelKey, LabelValue.nullable())
export const MetadataPatch = z.record(MetadataKey, MetadataValue.nullable())

export function applyPatch(map: Readonly<Record<string, string>>, patch: Readonly<Record<string, string | null>>): Record<string, string> {
  const next: Record<string, string> = { ...map }
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete next[key]
    else next[key] = value
  }
  return next
}
