// What a mini program in TypeScript does with the package, and with WeChat's own types.
import { Client, Phone, WeappdError } from 'weappd-client';
import { install, createCloud, CloudShim } from 'weappd-client/cloud';

const client = new Client({ url: 'https://www.example.com', wx });
const cloud: CloudShim = createCloud({ client });

Page({
  async choose() {
    const { tempFiles } = await wx.chooseMedia({ count: 9 });
    for (const { tempFilePath } of tempFiles) {
      const { data: answer } = await client.upload({
        filePath: tempFilePath,
        onProgress: ({ progress }) => wx.showLoading({ title: `${progress}%` }),
      });
      if (answer.data) this.setData({ url: answer.data.imgUrl });
      else wx.showToast({ title: answer.error || '' });
    }
  },
  async phone(event: WechatMiniprogram.ButtonGetPhoneNumber) {
    const phone: Phone = await client.setPhone(event.detail);
    return phone.source;
  },
  avatar: (event: WechatMiniprogram.CustomEvent<{ avatarUrl: string }>) => client.setAvatar(event.detail.avatarUrl),
  async profile() {
    const { encryptedData, iv } = await wx.getUserProfile({ desc: 'x' });
    await client.login({ userInfo: { encryptedData, iv } });
    const steps = await wx.getWeRunData({});
    return client.decrypt<{ stepInfoList: unknown[] }>({ ...steps, kind: 'werun' });
  },
  async typed() {
    interface Order { id: number }
    const { data } = await client.request<Order[]>({ path: '/api/orders', onTask: (task) => task.abort() });
    return data.map((order) => order.id);
  },
  async container() {
    const { data, callID } = await cloud.callContainer({ path: '/api/count', data: { action: 'inc' } });
    install({ url: 'https://www.example.com' });
    const other = await wx.cloud.callContainer({ config: { env: 'prod-01' }, path: '/', header: {}, method: 'GET' });
    return [data, callID, other.data];
  },
  fails(error: unknown) {
    if (error instanceof WeappdError && error.code === 'timeout') return error.detail;
  },
});

const tunnel = client.tunnel({ tries: 3 });
tunnel.on('connect', () => tunnel.emit('speak', { word: 'hello' })).on('close', ({ reason }) => reason === 'client').open();
