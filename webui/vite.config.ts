import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

// The server sends a strict policy (no inline script, no inline style), so nothing is inlined.
export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    outDir: '../guardian/web/static',
    emptyOutDir: true,
    manifest: 'manifest.json', // the server tells browsers early what a page will need (guardian/web/hints.py)
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    rollupOptions: {
      input: { index: 'index.html', child: 'child.html' },
      // A router answers one request after the other: what all pages share is one file, not twenty.
      output: {
        codeSplitting: {
          groups: [
            { name: 'shared', test: /node_modules|src\/(components|lib|words)\/|theme\.css/, minShareCount: 2 },
          ],
        },
      },
    },
  },
  server: { proxy: { '/api': 'http://127.0.0.1:8080' } },
  test: { environment: 'jsdom', include: ['src/**/*.test.ts'] },
  resolve: process.env.VITEST ? { conditions: ['browser'] } : undefined,
})
