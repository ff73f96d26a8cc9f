// Runs before the bundle. zod, inside it, tries at load whether Function() is
// allowed; the Content-Security-Policy forbids it and would report each try.
globalThis.__zod_globalConfig = { jitless: true };

document.addEventListener("DOMContentLoaded", () => {
  Scalar.createApiReference("#app", {
    url: "/openapi.json",
    documentDownloadType: "direct",

    // "Test Request" speaks to this origin, whatever the document lists:
    // the policy lets nothing else through.
    servers: [{ url: location.origin }],
    // Left out, the proxy is a public one. Empty means none.
    proxyUrl: "",
    // A typed-in token must not outlive the page.
    persistAuth: false,

    // Each of these would ask, or send the document to, somebody else.
    withDefaultFonts: false,
    telemetry: false,
    agent: { disabled: true },
    mcp: { disabled: true },
    hideClientButton: true,
    showDeveloperTools: "never",
  });
});
