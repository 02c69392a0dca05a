import { accessOf } from '../support/store-bench.ts'
import { describeStores } from '../support/stores.ts'
import { storeConformance } from './conformance.ts'

describeStores('a store', (bench) => storeConformance(accessOf(bench)))
