import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { resolveUser } from './users.ts'

const accounts = () => ({
  passwd: 'root:x:0:0:root:/root:/bin/sh\nweb:x:100:200::/:/bin/false\n1000:x:5:5::/:/bin/false\n',
  group: 'root:x:0:\nweb:x:200:\nssl:x:300:web,other\nlogs:x:400:other\n',
})
const resolve = (wanted: string | null, ownUid = 0) => resolveUser(wanted, ownUid, accounts)

describe('the user of a process', () => {
  test('a name brings its main group and its memberships; a given group replaces only the main one', () => {
    assert.deepEqual(resolve('web'), { ok: true, value: { uid: 100, gid: 200, groups: [200, 300] } })
    assert.deepEqual(resolve('web:logs'), { ok: true, value: { uid: 100, gid: 400, groups: [400, 300] } })
  })

  test('a number needs no account, and a name that looks like a number is the name', () => {
    assert.deepEqual(resolve('4711'), { ok: true, value: { uid: 4711, gid: 4711, groups: [4711] } })
    assert.deepEqual(resolve('4711:42'), { ok: true, value: { uid: 4711, gid: 42, groups: [42] } })
    assert.deepEqual(resolve('1000'), { ok: true, value: { uid: 5, gid: 5, groups: [5] } })
  })

  test('none asked for changes nothing', () => {
    assert.deepEqual(resolve(null), { ok: true, value: null })
  })

  test.each(['nobody-here', 'web:nothing'])('%s is refused by name', (wanted) => {
    const result = resolve(wanted)
    assert.equal(result.ok ? 'ok' : result.error.code, 'invalid_command')
  })

  test('who is not root stays who they are, and is told so for anybody else', () => {
    assert.deepEqual(resolve('web', 100), { ok: true, value: null })
    const result = resolve('root', 100)
    assert.equal(result.ok ? 'ok' : result.error.code, 'invalid_command')
  })
})
