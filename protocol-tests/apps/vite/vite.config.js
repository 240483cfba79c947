import { defineConfig } from 'vite';
import prefixed from './prefixed.js';

export default defineConfig({ base: process.env.BASE, plugins: [prefixed] });
