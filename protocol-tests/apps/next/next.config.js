export default { basePath: process.env.BASE, devIndicators: false };
