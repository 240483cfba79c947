import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vite';
import prefixed from './prefixed.js';

export default defineConfig({ plugins: [prefixed, sveltekit()] });
