// What a schema knows at a path: for "did you mean", and to find the leaf that an environment variable names. A schema may wrap an object
// in defaults, transforms and unions; what cannot be looked into (a transform over unknown) knows no keys, and nothing is suggested.
import { z } from 'zod'
import type { TomlPath } from './locate.ts'

export function knownKeys(schema: z.ZodType, path: TomlPath): readonly string[] {
  const [head, ...rest] = path
  return unwrap(schema).flatMap((each) => {
    if (head === undefined) return each instanceof z.ZodObject ? Object.keys(each.shape) : []
    const inner = child(each, head)
    return inner === undefined ? [] : knownKeys(inner, rest)
  })
}

export type LeafKind = 'text' | 'number' | 'boolean' | 'map'
export interface Leaf {
  readonly path: readonly string[]
  readonly kind: LeafKind
}

/** Every value of a schema of nested tables. */
export function leaves(schema: z.ZodType, path: readonly string[] = []): readonly Leaf[] {
  const [first] = unwrap(schema)
  if (first instanceof z.ZodObject)
    return Object.entries(first.shape).flatMap(([key, inner]) => (inner instanceof z.ZodType ? leaves(inner, [...path, key]) : []))
  const kind =
    first instanceof z.ZodNumber ? 'number' : first instanceof z.ZodBoolean ? 'boolean' : first instanceof z.ZodRecord ? 'map' : 'text'
  return [{ path, kind }]
}

function child(schema: z.ZodType, key: string | number): z.ZodType | undefined {
  if (schema instanceof z.ZodObject) return asType(Object.hasOwn(schema.shape, key) ? schema.shape[key] : undefined)
  if (schema instanceof z.ZodRecord) return asType(schema.valueType)
  if (schema instanceof z.ZodArray) return asType(schema.element)
  return undefined
}

function unwrap(schema: z.ZodType): readonly z.ZodType[] {
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => unwrapAny(option))
  if (schema instanceof z.ZodPipe) return unwrapAny(schema.in)
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return unwrapAny(schema.unwrap())
  return [schema]
}

const unwrapAny = (schema: unknown): readonly z.ZodType[] => (schema instanceof z.ZodType ? unwrap(schema) : [])
const asType = (schema: unknown): z.ZodType | undefined => (schema instanceof z.ZodType ? schema : undefined)
