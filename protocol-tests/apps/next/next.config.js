const basePath = process.env.BASE;

// A tunnel's path ends with a slash, which Next would take off.
export default { basePath, trailingSlash: basePath !== undefined, devIndicators: false };
