import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { ROUTES } from '../../contracts/routes.ts'
import { VERSION } from '../../contracts/version.ts'
import { openApiText } from './openapi-text.ts'

test('docs/openapi.json is what the route table makes; after a change run: node tools/openapi.ts', async () => {
  expect(await readFile(new URL('../../../docs/openapi.json', import.meta.url), 'utf8')).toBe(await openApiText(VERSION))
})

test('every route is described with its operation, its answer and its problems', async () => {
  const document = JSON.parse(await openApiText(VERSION))
  const operations = Object.values<Record<string, { operationId: string; responses: Record<string, unknown> }>>(document.paths).flatMap(
    (path) => Object.values(path),
  )
  expect(operations.map((operation) => operation.operationId).sort()).toEqual(Object.keys(ROUTES).sort())
  for (const { operationId, responses } of operations) expect(Object.keys(responses), operationId).toContain('default')
  // Every reference leads somewhere.
  for (const [, name] of JSON.stringify(document.paths).matchAll(/#\/components\/schemas\/([A-Za-z]+)/g))
    expect(document.components.schemas, name).toHaveProperty(name!)
})
