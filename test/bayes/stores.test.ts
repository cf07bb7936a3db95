/**
 * stores — the contract of restore and roll-back on the Bayes stores in PostgreSQL and Redis; DB_File keeps it in the unit tests.
 */
import { declareContract } from '../workers/bayes-contract.ts';

declareContract('postgres');
declareContract('redis');
