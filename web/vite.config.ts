import { defineConfig } from 'vitest/config';

// For development: `GATEWAY=https://127.0.0.1:8765 npm run dev` shows a running gateway's data.
const gateway = process.env['GATEWAY'] ?? 'https://127.0.0.1:8765';
const proxied = { target: gateway, changeOrigin: false, secure: false };

export default defineConfig({
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  build: {
    target: 'es2022',
    // The page's policy allows no `data:` addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    reportCompressedSize: true,
  },
  server: { proxy: { '/api': proxied, '/auth': proxied, '/login': proxied } },
  test: { include: ['src/**/*.test.ts', 'src/**/*.test.tsx'] },
});
