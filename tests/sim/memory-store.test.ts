import { describe } from 'vitest'
import { storeConformance } from '../store/conformance.ts'
import { memoryBench } from './memory-bench.ts'

describe('the store in memory', () => storeConformance(memoryBench))
